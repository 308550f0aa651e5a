# SPDX-License-Identifier: Apache-2.0
"""`xvla export`: writes a checkpoint as graphs."""
