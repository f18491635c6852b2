<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Daemon;

/**
 * The wake-up call: one datagram to the daemon's Unix socket, at most 64 bytes, which holds no secret.
 *
 * Connecting a datagram socket waits for nobody, and a write to a full queue gives up at once. So it costs the same few
 * microseconds whether the daemon is up, gone or hung.
 */
class Datagram {
	private const ENOENT = 2;
	private const EACCES = 13;
	private const ECONNREFUSED = 111;

	public function send(string $socket, int $lastId): Delivery {
		// Nextcloud logs each warning, hushed or not; one that is expected is none.
		set_error_handler(static fn (): bool => true);
		try {
			return $this->attempt($socket, $lastId);
		} finally {
			restore_error_handler();
		}
	}

	public static function text(int $lastId): string {
		return 'harpbridge 1 ' . $lastId . "\n";
	}

	private function attempt(string $socket, int $lastId): Delivery {
		$errno = 0;
		$error = '';
		$stream = stream_socket_client('udg://' . $socket, $errno, $error, 0.0);
		if ($stream === false) {
			return match ($errno) {
				self::ENOENT => Delivery::Missing,
				self::EACCES => Delivery::Forbidden,
				self::ECONNREFUSED => Delivery::Dead,
				default => Delivery::Failed,
			};
		}
		stream_set_blocking($stream, false);
		$text = self::text($lastId);
		$written = fwrite($stream, $text);
		fclose($stream);
		return $written === strlen($text) ? Delivery::Sent : Delivery::Full;
	}
}
