<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

use OCA\HarpBridge\Daemon\Client;
use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\Daemon\Datagram;
use OCA\HarpBridge\Daemon\Delivery;
use OCA\HarpBridge\Journal\Journal;
use OCP\IAppConfig;

/** Each thing that has to work, tried; in the order in which they depend on each other. */
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
		private IAppConfig $values,
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
			return new Check('journal', false, 'its table cannot be read', 'occ app:disable harpbridge && occ app:enable harpbridge');
		}
		return new Check('journal', true, $extent['rows'] . ' rows, the last id is ' . $extent['newest']);
	}

	public function bridgeSocket(): Check {
		$socket = $this->config->bridgeSocket();
		// The id of now: the daemon reads the journal once more, and finds nothing new.
		try {
			$last = $this->journal->ends()['newest'];
		} catch (\Throwable) {
			$last = 0;
		}
		$delivery = $this->datagram->send($socket, $last);
		$remedy = match ($delivery) {
			Delivery::Sent => '',
			Delivery::Missing => 'start the daemon, or say where its socket is: occ harpbridge:setup --bridge-socket PATH',
			Delivery::Forbidden => 'let the web server\'s group write to it: ' . self::owner($socket),
			Delivery::Dead => 'start the daemon; the last one left its socket behind',
			Delivery::Full => 'the daemon hangs: look at its log, then start it anew',
			Delivery::Failed => 'it has to be a datagram socket on this machine: ' . self::owner($socket),
		};
		return new Check('bridge socket', $delivery === Delivery::Sent, match ($delivery) {
			Delivery::Sent => "$socket takes datagrams",
			Delivery::Missing => "there is none at $socket",
			Delivery::Forbidden => "this user may not write to $socket",
			Delivery::Dead => "nobody listens at $socket",
			Delivery::Full => "the queue of $socket is full",
			Delivery::Failed => "$socket takes no datagrams",
		}, $remedy);
	}

	public function daemon(): Check {
		try {
			$device = $this->daemon->get('/v1/device');
		} catch (DaemonError $e) {
			return new Check('daemon', false, $e->getMessage(), $e->hint);
		}
		$name = is_string($device['name'] ?? null) ? $device['name'] : '?';
		$version = is_string($device['version'] ?? null) ? $device['version'] : '?';
		$ours = implode('.', array_slice(explode('.', $this->config->version()), 0, 2));
		if ($version !== $ours && !str_starts_with($version, $ours . '.')) {
			return new Check('daemon', false, "runs Harp $version, this app is $ours", 'update the older of the two');
		}
		return new Check('daemon', true, "$name answers, Harp $version");
	}

	/** What the daemon says is wrong with the folders that it keeps, and with itself. */
	public function folders(): Check {
		try {
			$status = $this->daemon->get('/v1/status');
		} catch (DaemonError) {
			return new Check('folders', true, 'nothing is known of them while the daemon does not answer');
		}
		$folders = array_filter(is_array($status['folders'] ?? null) ? $status['folders'] : [], 'is_array');
		$wrong = array_filter(is_array($status['problems'] ?? null) ? $status['problems'] : [], 'is_string');
		foreach ($folders as $folder) {
			if (is_string($folder['error'] ?? null) && $folder['error'] !== '') {
				$wrong[] = (is_string($folder['name'] ?? null) ? $folder['name'] : '?') . ': ' . $folder['error'];
			}
		}
		if ($wrong === []) {
			return new Check('folders', true, 'nothing is wrong with any of the ' . count($folders));
		}
		$more = count($wrong) - self::MOST_WRONG;
		$said = implode('; ', array_slice($wrong, 0, self::MOST_WRONG)) . ($more > 0 ? "; and $more more" : '');
		return new Check('folders', false, $said, 'on the server, as the daemon\'s user, harp status says what to do');
	}

	public function hub(): Check {
		$address = $this->config->hubAddress();
		return new Check('hub', true, $address === null
			? 'no address; devices find it on the local network only (occ harpbridge:setup --hub HOST:PORT)'
			: "devices dial $address");
	}

	public function cron(int $now): Check {
		$last = $this->values->getValueInt('core', 'lastcron', 0);
		if ($now - $last > self::LATE_CRON) {
			return new Check(
				'background jobs',
				false,
				$last === 0 ? 'have never run' : 'have not run for ' . intdiv($now - $last, 60) . ' minutes',
				'set up cron for Nextcloud; without it the journal is never pruned',
			);
		}
		return new Check('background jobs', true, 'run');
	}

	/** Who has the socket, for the remedy's line. */
	private static function owner(string $socket): string {
		$stat = @stat($socket);
		if ($stat === false) {
			return $socket;
		}
		$user = function_exists('posix_getpwuid') ? posix_getpwuid($stat['uid']) : false;
		$group = function_exists('posix_getgrgid') ? posix_getgrgid($stat['gid']) : false;
		return sprintf(
			'%s is a %s of %s:%s with mode %o',
			$socket,
			filetype($socket) === 'socket' ? 'socket' : (filetype($socket) ?: 'file'),
			$user === false ? $stat['uid'] : $user['name'],
			$group === false ? $stat['gid'] : $group['name'],
			$stat['mode'] & 0777,
		);
	}
}
