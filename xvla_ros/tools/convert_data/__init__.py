# SPDX-License-Identifier: Apache-2.0
"""`xvla convert-data`: demonstrations from one format into another."""
