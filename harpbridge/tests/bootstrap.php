<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

/** The app's classes, and stand-ins for those parts of Nextcloud that the tested ones touch. */
spl_autoload_register(static function (string $class): void {
	if (str_starts_with($class, 'OCA\HarpBridge\Tests\\')) {
		$file = __DIR__ . '/unit/' . substr($class, strlen('OCA\HarpBridge\Tests\\'));
	} elseif (str_starts_with($class, 'OCA\HarpBridge\\')) {
		$file = __DIR__ . '/../lib/' . substr($class, strlen('OCA\HarpBridge\\'));
	} else {
		return;
	}
	$file = str_replace('\\', '/', $file) . '.php';
	if (is_file($file)) {
		require $file;
	}
});

require __DIR__ . '/standins/files.php';
require __DIR__ . '/standins/home.php';
require __DIR__ . '/standins/pages.php';
require __DIR__ . '/standins/server.php';
require __DIR__ . '/standins/Words.php';
require __DIR__ . '/standins/Database.php';
