# SPDX-License-Identifier: Apache-2.0
"""`xvla fetch`: downloads a published checkpoint."""
