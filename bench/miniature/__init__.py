# SPDX-License-Identifier: Apache-2.0
"""The experiment of X-VLA's paper on soft prompts, with the demo's small network."""
