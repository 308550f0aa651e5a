# SPDX-License-Identifier: Apache-2.0
"""The fault matrix: one fault after the other in a running system. See docs/reliability.md."""
