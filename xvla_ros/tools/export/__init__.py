# SPDX-License-Identifier: Apache-2.0
"""`xvla export`: a checkpoint as graphs."""
