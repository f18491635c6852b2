<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Journal;

/** One person's mounts: turns a place into a path relative to their files, or into null where they do not see it. */
final class View {
	/** @param list<array{storage: int, root: string, at: string}> $mounts `at`: the mount point under the person's files */
	private function __construct(
		private array $mounts,
	) {
	}

	/**
	 * @param iterable<\OCP\Files\Config\ICachedMountInfo> $mounts
	 */
	public static function of(string $user, iterable $mounts): self {
		$files = '/' . $user . '/files';
		$seen = [];
		foreach ($mounts as $mount) {
			$point = rtrim($mount->getMountPoint(), '/');
			$root = trim($mount->getRootInternalPath(), '/');
			if ($point === '/' . $user) {
				$seen[] = ['storage' => $mount->getStorageId(), 'root' => self::below($root, 'files'), 'at' => ''];
			} elseif ($point === $files || str_starts_with($point, $files . '/')) {
				$seen[] = [
					'storage' => $mount->getStorageId(),
					'root' => $root,
					'at' => trim(substr($point, strlen($files)), '/'),
				];
			}
		}
		return new self($seen);
	}

	/** @return list<int> */
	public function storages(): array {
		return array_values(array_unique(array_column($this->mounts, 'storage')));
	}

	/** @return list<string> each path under which the person sees the place; "" is their root */
	public function paths(Place $place): array {
		$paths = [];
		foreach ($this->mounts as $mount) {
			$root = new Place($mount['storage'], $mount['root']);
			if ($root->equals($place) || $root->isAncestorOf($place)) {
				$rest = trim(substr($place->path, strlen($mount['root'])), '/');
				$paths[] = self::below($mount['at'], $rest);
			}
		}
		return array_values(array_unique($paths));
	}

	private static function below(string $folder, string $rest): string {
		return $folder === '' || $rest === '' ? $folder . $rest : $folder . '/' . $rest;
	}
}
