# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is measured: one module a program, each with two folders that it keeps the same."""
