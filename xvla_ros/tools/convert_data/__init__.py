# SPDX-License-Identifier: Apache-2.0
"""`xvla convert-data`: converts demonstrations to another format."""
