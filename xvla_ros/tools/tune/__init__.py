# SPDX-License-Identifier: Apache-2.0
"""`xvla tune`: the cheapest setting that stays within a stated error."""
