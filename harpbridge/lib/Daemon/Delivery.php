<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Daemon;

use OCP\IL10N;

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

	public function text(IL10N $l, string $socket): string {
		return match ($this) {
			self::Sent => $l->t('%s takes datagrams', [$socket]),
			self::Missing => $l->t('there is none at %s', [$socket]),
			self::Forbidden => $l->t('this user may not write to %s', [$socket]),
			self::Dead => $l->t('nobody listens at %s', [$socket]),
			self::Full => $l->t('the queue of %s is full', [$socket]),
			self::Failed => $l->t('%s takes no datagrams', [$socket]),
		};
	}

	/** What to do; empty where it was sent. */
	public function remedy(IL10N $l, string $socket): string {
		return match ($this) {
			self::Sent => '',
			self::Missing => $l->t('start the daemon, or say where its socket is: occ harpbridge:setup --bridge-socket PATH') . '; '
				. $l->t('where it is on another web node: harp config set journal_poll_s 2, there'),
			self::Forbidden => $l->t('let the web server\'s group write to it: %s', [self::owner($l, $socket)]),
			self::Dead => $l->t('start the daemon; the last one left its socket behind'),
			self::Full => $l->t('the daemon hangs: look at its log, then start it anew'),
			self::Failed => $l->t('it has to be a datagram socket on this machine: %s', [self::owner($l, $socket)]),
		};
	}

	private static function owner(IL10N $l, string $socket): string {
		$stat = @stat($socket);
		if ($stat === false) {
			return $socket;
		}
		$user = function_exists('posix_getpwuid') ? posix_getpwuid($stat['uid']) : false;
		$group = function_exists('posix_getgrgid') ? posix_getgrgid($stat['gid']) : false;
		$is = [$socket, $user['name'] ?? $stat['uid'], $group['name'] ?? $stat['gid'], sprintf('%o', $stat['mode'] & 0777)];
		return filetype($socket) === 'socket'
			? $l->t('%1$s is a socket of %2$s:%3$s with mode %4$s', $is)
			: $l->t('%1$s is no socket, and belongs to %2$s:%3$s with mode %4$s', $is);
	}
}
