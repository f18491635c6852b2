<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

use OCA\HarpBridge\Daemon\Client;
use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\Daemon\Datagram;
use OCA\HarpBridge\Daemon\Delivery;
use OCA\HarpBridge\Daemon\Presence;
use OCA\HarpBridge\Journal\Journal;
use OCP\IAppConfig;
use OCP\IL10N;

/**
 * Each thing that has to work, tried; in the order in which they depend on each other. It speaks the language of `$l`:
 * a person's on a page, that of the server's configuration at the command line.
 */
class SelfTest {
	/** A cron that has not run for this long, in seconds, does not run. */
	private const LATE_CRON = 3600;
	/** So many things that are wrong are named in one line. */
	private const MOST_WRONG = 5;

	public function __construct(
		private Config $config,
		private Journal $journal,
		private Datagram $datagram,
		private Client $daemon,
		private Presence $presence,
		private IAppConfig $values,
		private IL10N $l,
	) {
	}

	/** @return list<Check> */
	public function run(int $now): array {
		return [
			$this->journal(),
			$this->bridgeSocket(),
			$this->daemon(),
			$this->folders(),
			$this->hub(),
			$this->cron($now),
		];
	}

	public function journal(): Check {
		try {
			$extent = $this->journal->extent();
		} catch (\Throwable) {
			$remedy = 'occ app:disable harpbridge && occ app:enable harpbridge';
			return $this->check('journal', false, $this->l->t('its table cannot be read'), $remedy);
		}
		return $this->check('journal', true, $this->l->n(
			'%n row, the last id is %s', '%n rows, the last id is %s', $extent['rows'], [$extent['newest']],
		));
	}

	public function bridgeSocket(): Check {
		$socket = $this->config->bridgeSocket();
		$became = $this->knock();
		if ($became !== Delivery::Sent && $this->suffices($became)) {
			$text = $this->l->t('there is none at %1$s on this machine: %2$s', [$socket, $this->elsewhere()]);
			return $this->check('bridge socket', true, $text);
		}
		return $this->check('bridge socket', $became === Delivery::Sent, $became->text($this->l, $socket), $became->remedy($this->l, $socket));
	}

	/** Sends the daemon a datagram that tells it nothing new. */
	public function knock(): Delivery {
		// The id of now: the daemon reads the journal once more, and finds nothing new.
		try {
			$last = $this->journal->ends()['newest'];
		} catch (\Throwable) {
			$last = 0;
		}
		return $this->datagram->send($this->config->bridgeSocket(), $last);
	}

	/** Whether that is enough: the datagram arrived, or the daemon of another web node reads the journal. */
	public function suffices(Delivery $became): bool {
		return $became === Delivery::Sent || ($became === Delivery::Missing && $this->elsewhere() !== '');
	}

	public function daemon(): Check {
		try {
			$device = $this->daemon->get('/v1/device');
		} catch (DaemonError $e) {
			if (!file_exists($this->config->controlSocket()) && ($elsewhere = $this->elsewhere()) !== '') {
				$text = $this->l->t('%s; requests with harpbridge in their path have to go there', [$elsewhere]);
				return $this->check('daemon', true, $text);
			}
			return $this->check('daemon', false, $e->getMessage(), $e->hint);
		}
		$name = is_string($device['name'] ?? null) ? $device['name'] : '?';
		$version = is_string($device['version'] ?? null) ? $device['version'] : '?';
		$ours = implode('.', array_slice(explode('.', $this->config->version()), 0, 2));
		if ($version !== $ours && !str_starts_with($version, $ours . '.')) {
			$text = $this->l->t('runs Harp %1$s, this app is %2$s', [$version, $ours]);
			return $this->check('daemon', false, $text, $this->l->t('update the older of the two'));
		}
		return $this->check('daemon', true, $this->l->t('%1$s answers, Harp %2$s', [$name, $version]));
	}

	/** What the daemon says is wrong with the folders that it keeps, and with itself. */
	public function folders(): Check {
		try {
			$status = $this->daemon->get('/v1/status');
		} catch (DaemonError) {
			return $this->check('folders', true, $this->l->t('nothing is known of them while the daemon does not answer'));
		}
		$folders = array_filter(is_array($status['folders'] ?? null) ? $status['folders'] : [], 'is_array');
		$wrong = array_filter(is_array($status['problems'] ?? null) ? $status['problems'] : [], 'is_string');
		foreach ($folders as $folder) {
			if (is_string($folder['error'] ?? null) && $folder['error'] !== '') {
				$wrong[] = (is_string($folder['name'] ?? null) ? $folder['name'] : '?') . ': ' . $folder['error'];
			}
		}
		if ($wrong === []) {
			return $this->check('folders', true, $this->l->t('nothing is wrong with any of the %s', [count($folders)]));
		}
		$said = array_slice($wrong, 0, self::MOST_WRONG);
		if (count($wrong) > self::MOST_WRONG) {
			$said[] = $this->l->t('and %s more', [count($wrong) - self::MOST_WRONG]);
		}
		$remedy = $this->l->t('on the server, as the daemon\'s user, harp status says what to do');
		return $this->check('folders', false, implode('; ', $said), $remedy);
	}

	public function hub(): Check {
		$address = $this->config->hubAddress();
		return $this->check('hub', true, $address === null
			? $this->l->t('no address; devices find it on the local network only (occ harpbridge:setup --hub HOST:PORT)')
			: $this->l->t('devices dial %s', [$address]));
	}

	public function cron(int $now): Check {
		$last = $this->values->getValueInt('core', 'lastcron', 0);
		if ($now - $last > self::LATE_CRON) {
			return $this->check(
				'background jobs',
				false,
				$last === 0 ? $this->l->t('have never run') : $this->l->t('have not run for %s minutes', [intdiv($now - $last, 60)]),
				$this->l->t('set up cron for Nextcloud; without it the journal is never pruned'),
			);
		}
		return $this->check('background jobs', true, $this->l->t('run'));
	}

	/** Of a web node beside which no daemon is: that one lives beside another. Empty where none has read the journal lately. */
	private function elsewhere(): string {
		$ago = $this->presence->secondsAgo();
		return $ago === null ? '' : $this->l->t('the daemon is on another one, and read the journal %s s ago', [$ago]);
	}

	private function check(string $name, bool $ok, string $text, string $remedy = ''): Check {
		$title = match ($name) {
			'journal' => $this->l->t('journal'),
			'bridge socket' => $this->l->t('bridge socket'),
			'daemon' => $this->l->t('daemon'),
			'folders' => $this->l->t('folders'),
			'hub' => $this->l->t('hub'),
			'background jobs' => $this->l->t('background jobs'),
		};
		return new Check($name, $title, $ok, $text, $remedy);
	}
}
