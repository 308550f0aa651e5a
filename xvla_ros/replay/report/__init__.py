# SPDX-License-Identifier: Apache-2.0
"""A bag or a replayed run as one HTML page."""
