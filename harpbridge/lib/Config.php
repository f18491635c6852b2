<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

use OCP\IAppConfig;
use OCP\IL10N;

/** The app's settings. `occ harpbridge:setup` and the administrator's page write them, checked. */
class Config {
	public const APP = 'harpbridge';
	public const BRIDGE_SOCKET = '/run/harp/bridge.sock';
	public const CONTROL_SOCKET = '/var/lib/harp/harp.sock';
	public const KEEP_DAYS = 7;

	/** The console's pages where the hub is the ExApp "harp"; app_api serves it there, whatever Nextcloud's own path. */
	public const CONSOLE_PATH = '/exapps/harp/console/';

	/** sun_path of unix(7), less its last NUL. */
	private const LONGEST_SOCKET = 107;

	public function __construct(
		private IAppConfig $values,
		private IL10N $l,
	) {
	}

	/** Where the daemon waits for datagrams. */
	public function bridgeSocket(): string {
		return $this->values->getValueString(self::APP, 'bridge_socket', self::BRIDGE_SOCKET);
	}

	/** Where the daemon answers /v1. */
	public function controlSocket(): string {
		return $this->values->getValueString(self::APP, 'control_socket', self::CONTROL_SOCKET, true);
	}

	/** What devices dial: HOST:PORT or wss://…; null where no hub is set up. */
	public function hubAddress(): ?string {
		$address = $this->values->getValueString(self::APP, 'hub_address', '');
		return $address === '' ? null : $address;
	}

	/** How the daemon reaches this Nextcloud; empty: by its public address. */
	public function nextcloudUrl(): string {
		return $this->values->getValueString(self::APP, 'nextcloud_url', '', true);
	}

	/** Where the console's pages are, under this Nextcloud's own address; empty: not in its menu. Asked on every page. */
	public function consolePath(): string {
		return $this->values->getValueString(self::APP, 'console_path', '');
	}

	public function keepDays(): int {
		return max(1, $this->values->getValueInt(self::APP, 'keep_days', self::KEEP_DAYS, true));
	}

	public function version(): string {
		return $this->values->getValueString(self::APP, 'installed_version', '0');
	}

	/** @throws \InvalidArgumentException one line for a person */
	public function setBridgeSocket(string $path): void {
		$this->values->setValueString(self::APP, 'bridge_socket', $this->socket($path));
	}

	/** @throws \InvalidArgumentException one line for a person */
	public function setControlSocket(string $path): void {
		$this->values->setValueString(self::APP, 'control_socket', $this->socket($path), true);
	}

	/** @throws \InvalidArgumentException one line for a person */
	public function setHubAddress(string $address): void {
		$isFine = $address === '' || (strlen($address) <= 255 && preg_match(
			'~^(?:wss://[A-Za-z0-9.\-]+(?::[0-9]{1,5})?(?:/[!-\~]*)?|(?:[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5})$~D',
			$address,
		) === 1);
		if (!$isFine) {
			throw new \InvalidArgumentException($this->l->t('a hub address is HOST:PORT, or wss://HOST/PATH'));
		}
		$this->values->setValueString(self::APP, 'hub_address', $address);
	}

	/** @throws \InvalidArgumentException one line for a person */
	public function setNextcloudUrl(string $url): void {
		if ($url !== '' && preg_match('~^https?://[^\s@?#]+$~D', $url) !== 1) {
			throw new \InvalidArgumentException($this->l->t('the address of this Nextcloud begins with https:// and holds no user and no query'));
		}
		$this->values->setValueString(self::APP, 'nextcloud_url', rtrim($url, '/'), true);
	}

	/** @throws \InvalidArgumentException one line for a person */
	public function setConsolePath(string $path): void {
		if ($path !== '' && preg_match('~^/exapps/[A-Za-z0-9_-]{1,64}/console/$~D', $path) !== 1) {
			throw new \InvalidArgumentException($this->l->t('the console of an ExApp is at %s', [self::CONSOLE_PATH]));
		}
		$this->values->setValueString(self::APP, 'console_path', $path);
	}

	/** @throws \InvalidArgumentException one line for a person */
	public function setKeepDays(int $days): void {
		if ($days < 1 || $days > 365) {
			throw new \InvalidArgumentException($this->l->t('the journal is kept for 1 to 365 days'));
		}
		$this->values->setValueInt(self::APP, 'keep_days', $days, true);
	}

	private function socket(string $path): string {
		if (!str_starts_with($path, '/') || strlen($path) > self::LONGEST_SOCKET || preg_match('~[[:cntrl:]]~', $path) === 1) {
			throw new \InvalidArgumentException($this->l->t('a socket is an absolute path of at most %s bytes', [self::LONGEST_SOCKET]));
		}
		return $path;
	}
}
