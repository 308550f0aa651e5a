# SPDX-License-Identifier: Apache-2.0
"""What may be wrong with demonstrations: each check names file, episode and frame."""
