# SPDX-License-Identifier: Apache-2.0
"""`xvla doctor`: the command and its checks."""
