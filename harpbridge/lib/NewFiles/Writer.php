<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\NewFiles;

use OCP\Files\Folder;
use OCP\Files\IFilenameValidator;
use OCP\Files\IRootFolder;
use OCP\IUser;
use Psr\Log\LoggerInterface;

/**
 * Makes files where nothing lies. Nextcloud's own request for many (`/dav/bulk`) overwrites what it finds, so that a device
 * may use it in folders only that it has just made itself.
 */
class Writer {
	public function __construct(
		private IRootFolder $root,
		private IFilenameValidator $names,
		private LoggerInterface $logger,
	) {
	}

	/**
	 * What is not in the answer was not made, for whatever reason: whoever sent it asks for that one by one, and is told.
	 *
	 * @return list<array{path: string, fileid: string, etag: string}>
	 */
	public function write(IUser $user, Parcel $parcel): array {
		$home = $this->root->getUserFolder($user->getUID());
		$folders = ['' => $home];
		$made = [];
		foreach ($parcel->contents() as $file => $content) {
			try {
				$folder = $folders[$file->folder] ??= $home->get($file->folder);
				if ($folder instanceof Folder && hash('sha256', $content) === $file->sha256) {
					$made[] = $this->make($folder, $file, $content);
				}
			} catch (\Throwable $e) {
				$this->logger->info('A file of many was not made', ['exception' => $e]);
			}
		}
		return array_values(array_filter($made));
	}

	/** @return array{path: string, fileid: string, etag: string}|null */
	private function make(Folder $folder, NewFile $file, string $content): ?array {
		if (!$this->names->isFilenameValid($file->name) || $folder->nodeExists($file->name)) {
			return null;
		}
		$node = $folder->newFile($file->name, $content);
		if ($node->isUpdateable()) {
			$node->touch($file->mtime);
			// What a node remembers of itself is from before.
			$node = $folder->get($file->name);
		}
		$path = ltrim($file->folder . '/' . $file->name, '/');
		return ['path' => $path, 'fileid' => (string)$node->getId(), 'etag' => $node->getEtag()];
	}
}
