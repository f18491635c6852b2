<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Journal;

use OCP\Files\FileInfo;
use OCP\Files\IHomeStorage;
use OCP\Files\Mount\IMountManager;
use OCP\Files\Storage\IStorage;

/** Finds the place of what an event speaks of, and says which places are nobody's files. Null: nothing to tell. */
final class Places {
	/** The storage that shows a folder of another as its root: shares, team folders. Nextcloud has no public name for it. */
	private const JAIL = 'OC\Files\Storage\Wrapper\Jail';
	private const MOST_JAILS = 8;

	/** Beside people's files, in any storage: versions, trash, uploads, caches, the instance's own data. */
	private const NOT_FILES = '~^(?:files_versions|files_trashbin|files_encryption|uploads|cache|thumbnails)(?:/|$)'
		. '|^appdata_[^/]*(?:/|$)|^__groupfolders/(?:versions|trash)(?:/|$)~';
	private const UNFINISHED = '~\.ocTransferId[0-9]+\.part$|\.part$~';

	public function __construct(
		private IMountManager $mounts,
	) {
	}

	public function ofInfo(FileInfo $info): ?Place {
		return $this->of($info->getStorage(), $info->getInternalPath());
	}

	/** Of a path that is no more, such as `/alice/files/was/here`, from where it would be. */
	public function ofPath(string $path): ?Place {
		$path = '/' . trim((string)preg_replace('~/+~', '/', $path), '/');
		$mount = $this->mounts->find($path);
		$storage = $mount?->getStorage();
		return $mount === null || $storage === null ? null : $this->of($storage, $mount->getInternalPath($path));
	}

	/** `$numeric` is the storage's numeric id where the event says it; it spares the look at the cache. */
	public function of(IStorage $storage, string $path, ?int $numeric = null): ?Place {
		$isJailed = false;
		for ($depth = 0; $depth < self::MOST_JAILS && $storage->instanceOfStorage(self::JAIL); $depth++) {
			/** @psalm-suppress UndefinedInterfaceMethod */
			$path = $storage->getUnjailedPath($path);
			$storage = $storage->getUnjailedStorage();
			$isJailed = true;
		}
		$path = trim($path, '/');
		if (!self::isFile($path, $storage->instanceOfStorage(IHomeStorage::class))) {
			return null;
		}
		return new Place($isJailed || $numeric === null ? $storage->getCache()->getNumericStorageId() : $numeric, $path);
	}

	public static function isFile(string $path, bool $isHome): bool {
		if ($isHome && !str_starts_with($path, 'files/')) {
			return false;
		}
		return $path !== '' && preg_match(self::NOT_FILES, $path) !== 1 && preg_match(self::UNFINISHED, $path) !== 1;
	}
}
