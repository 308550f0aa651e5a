# SPDX-License-Identifier: Apache-2.0
"""The inference worker: the process that runs the model. The policy node starts it."""
