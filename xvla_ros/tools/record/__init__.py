# SPDX-License-Identifier: Apache-2.0
"""`xvla record`: records topics into a bag."""
