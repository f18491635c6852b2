<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\StandIns;

/** The app's texts in one language, from the file that Nextcloud reads; a text that is not in it is an error. */
final class Words implements \OCP\IL10N {
	/** @var array<string, string|list<string>> */
	private array $translations = [];

	public function __construct(
		private string $language = 'en',
	) {
		if ($language !== 'en') {
			$file = (string)file_get_contents(__DIR__ . "/../../l10n/$language.json");
			$this->translations = json_decode($file, true, flags: JSON_THROW_ON_ERROR)['translations'];
		}
	}

	public function t(string $text, $parameters = []): string {
		return vsprintf($this->language === 'en' ? $text : $this->translations[$text], (array)$parameters);
	}

	public function n(string $text_singular, string $text_plural, int $count, array $parameters = []): string {
		$forms = $this->language === 'en'
			? [$text_singular, $text_plural]
			: $this->translations["_{$text_singular}_::_{$text_plural}_"];
		return vsprintf(str_replace('%n', (string)$count, $forms[$count === 1 ? 0 : 1]), $parameters);
	}

	public function getLanguageCode(): string {
		return $this->language;
	}
}
