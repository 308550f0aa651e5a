# SPDX-License-Identifier: Apache-2.0
"""Code for several nodes: message conversions, subscriptions, parameters, lifecycle."""
