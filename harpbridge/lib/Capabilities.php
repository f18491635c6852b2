<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

use OCP\Capabilities\ICapability;

/** What a device asks before it relies on this app: which journal it can read, how it makes many files, and where the hub is. */
class Capabilities implements ICapability {
	/** Grows when the journal's answer changes in a way that an older reader would misread. */
	public const JOURNAL = 1;
	/** The same for requests that make many new files. */
	public const NEW_FILES = 1;

	public function __construct(
		private Config $config,
	) {
	}

	/** @return array{harpbridge: array{version: string, journal: int, newFiles: int, hub: array{address: string}|null}} */
	public function getCapabilities(): array {
		$address = $this->config->hubAddress();
		return [
			Config::APP => [
				'version' => $this->config->version(),
				'journal' => self::JOURNAL,
				'newFiles' => self::NEW_FILES,
				'hub' => $address === null ? null : ['address' => $address],
			],
		];
	}
}
