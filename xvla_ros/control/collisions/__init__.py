# SPDX-License-Identifier: Apache-2.0
"""Links that touch: shapes, the pairs that need no check, and steps of arms of tool poses."""
