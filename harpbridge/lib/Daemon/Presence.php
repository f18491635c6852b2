<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Daemon;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Sharing\AppPasswords;
use OCP\AppFramework\Utility\ITimeFactory;
use OCP\Config\IUserConfig;
use OCP\IAppConfig;
use OCP\IUser;

/**
 * When the daemon read the journal last: how a web node that does not reach its sockets knows that it lives.
 *
 * Only a reading with an app password counts that this app gave to the daemon, so that nobody else looks like one.
 */
class Presence {
	/** So much of a reading's time is not written down, in seconds: a write for each would cost more than it says. */
	private const NOTED_EVERY = 60;
	/** Who has not read for so long may be gone, in seconds. */
	private const FRESH = 300;

	public function __construct(
		private IAppConfig $values,
		private IUserConfig $people,
		private AppPasswords $passwords,
		private ITimeFactory $time,
	) {
	}

	/** Somebody reads the journal by the account of this person. */
	public function note(IUser $user): void {
		$now = $this->time->getTime();
		if (abs($now - $this->readAt()) < self::NOTED_EVERY) {
			return;
		}
		$token = $this->people->getValueInt($user->getUID(), Config::APP, 'token', 0, true);
		if ($token !== 0 && $this->passwords->isInUse($token)) {
			$this->values->setValueInt(Config::APP, 'read_at', $now, true);
		}
	}

	/** How many seconds ago that was, give or take a minute; null where it may be gone, or never read. */
	public function secondsAgo(): ?int {
		$ago = abs($this->time->getTime() - $this->readAt());
		return $ago < self::FRESH ? $ago : null;
	}

	private function readAt(): int {
		return $this->values->getValueInt(Config::APP, 'read_at', 0, true);
	}
}
