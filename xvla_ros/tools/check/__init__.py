# SPDX-License-Identifier: Apache-2.0
"""`xvla check`: checks whether recorded data are fit for training."""
