# SPDX-License-Identifier: Apache-2.0
"""One trainer for every recipe: stages, batches, exact resume, and the arithmetic of a step."""
