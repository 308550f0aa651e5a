# SPDX-License-Identifier: Apache-2.0
"""What several nodes use: message conversions, arm state, parameters, lifecycle."""
