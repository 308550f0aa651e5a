# SPDX-License-Identifier: Apache-2.0
"""`xvla adapt`: a robot from demonstrations, or the demo policy from nothing."""
