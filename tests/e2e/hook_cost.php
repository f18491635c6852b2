<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

// What the listener of Harp Bridge costs within a real Nextcloud, as JSON, in microseconds: hook_cost.php TREE SOCKET

require_once $argv[1] . '/lib/base.php';
\OC_App::loadApps();

use OCA\HarpBridge\Daemon\Datagram;
use OCA\HarpBridge\Hooks;
use OCP\Files\Cache\CacheEntryInsertedEvent;
use OCP\Files\Cache\CacheEntryUpdatedEvent;
use OCP\Files\Events\Node\NodeWrittenEvent;

\OC_User::setUserId('admin');
$file = \OCP\Server::get(\OCP\Files\IRootFolder::class)->getUserFolder('admin')->newFile('cost.txt', 'x');
$hooks = \OCP\Server::get(Hooks::class);
$storage = $file->getStorage();
$numeric = $storage->getCache()->getNumericStorageId();
$collecting = $whole = $undisked = [];
$database = \OCP\Server::get(\OCP\IDBConnection::class);
for ($round = 0; $round < 400; $round++) {
	if ($round === 200) {
		// How long a disk takes to keep a row is the database's affair, and another on each server.
		match ($database->getDatabaseProvider()) {
			\OCP\IDBConnection::PLATFORM_SQLITE => $database->executeStatement('PRAGMA synchronous = OFF'),
			\OCP\IDBConnection::PLATFORM_POSTGRES => $database->executeStatement('SET synchronous_commit TO off'),
			// Others have that for the whole server alone; within a transaction nothing is committed.
			default => $database->beginTransaction(),
		};
	}
	$events = [
		new CacheEntryInsertedEvent($storage, 'files/cost.txt', $file->getId(), $numeric),
		new CacheEntryUpdatedEvent($storage, 'files', 2, $numeric),
		new CacheEntryUpdatedEvent($storage, '', 1, $numeric),
		new CacheEntryUpdatedEvent($storage, 'files/cost.txt', $file->getId(), $numeric),
		new NodeWrittenEvent($file),
	];
	$from = hrtime(true);
	array_map($hooks->handle(...), $events);
	$collected = hrtime(true);
	$hooks->atEndOfRequest();
	$took = (hrtime(true) - $from) / 1000;
	$collecting[] = ($collected - $from) / 1000;
	if ($round < 200) {
		$whole[] = $took;
	} else {
		$undisked[] = $took;
	}
	usleep(500);
}
$datagram = new Datagram();
$sending = $became = [];
for ($round = 0; $round < 1000; $round++) {
	$from = hrtime(true);
	$became[] = $datagram->send($argv[2], $round)->value;
	$sending[] = (hrtime(true) - $from) / 1000;
	usleep(300);
}
$figures = static function (array $times): array {
	sort($times);
	return ['median' => round($times[intdiv(count($times), 2)], 1), 'p99' => round($times[intdiv(count($times) * 99, 100)], 1)];
};
echo json_encode([
	'collecting' => $figures($collecting),
	'whole' => $figures($whole),
	'whole without the disk' => $figures($undisked),
	'datagram' => $figures($sending),
	'became' => array_count_values($became),
]), "\n";
