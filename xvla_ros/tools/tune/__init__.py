# SPDX-License-Identifier: Apache-2.0
"""`xvla tune`: finds the fastest setting within a bound on the error."""
