# SPDX-License-Identifier: Apache-2.0
"""`xvla check`: says whether recorded data can be trained on."""
