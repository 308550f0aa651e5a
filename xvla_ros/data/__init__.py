# SPDX-License-Identifier: Apache-2.0
"""Demonstrations from any recording: described by a YAML file, read into one form, checked."""
