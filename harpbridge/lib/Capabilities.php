<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

use OCP\Capabilities\ICapability;

/** What a device asks before it relies on this app: which journal it can read, and where the hub is. */
class Capabilities implements ICapability {
	/** Grows when the journal's answer changes in a way that an older reader would misread. */
	public const JOURNAL = 1;

	public function __construct(
		private Config $config,
	) {
	}

	/** @return array{harpbridge: array{version: string, journal: int, hub: array{address: string}|null}} */
	public function getCapabilities(): array {
		$address = $this->config->hubAddress();
		return [
			Config::APP => [
				'version' => $this->config->version(),
				'journal' => self::JOURNAL,
				'hub' => $address === null ? null : ['address' => $address],
			],
		];
	}
}
