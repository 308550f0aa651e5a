# SPDX-License-Identifier: Apache-2.0
"""The recipe of the demo policy: simulated data, grounding, initial values."""
