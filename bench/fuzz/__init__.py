# SPDX-License-Identifier: Apache-2.0
"""Broken input for everything that reads what somebody else wrote. See docs/security.md."""
