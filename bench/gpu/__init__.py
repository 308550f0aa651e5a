# SPDX-License-Identifier: Apache-2.0
"""What is to be measured when a GPU is at hand; none of it has run."""
