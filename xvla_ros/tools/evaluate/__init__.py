# SPDX-License-Identifier: Apache-2.0
"""`xvla evaluate`: open loop against demonstrations, or closed loop in simulation."""
