<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Daemon;

/** What became of a datagram. All but the first mean: the daemon will read the journal when it looks again. */
enum Delivery: string {
	case Sent = 'sent';
	/** There is no socket at that path. */
	case Missing = 'missing';
	/** There is one, and this user may not write to it. */
	case Forbidden = 'forbidden';
	/** A daemon that is gone left it behind. */
	case Dead = 'dead';
	/** The daemon does not read: its queue is full. */
	case Full = 'full';
	case Failed = 'failed';
}
