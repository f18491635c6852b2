<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Command;

use OC\Core\Command\Base as CoreBase;
use OCA\HarpBridge\Check;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

/** What the commands share: `--output=json`, one line a check, and an exit code that says whether all is well. */
abstract class Base extends CoreBase {
	protected static function isPlain(InputInterface $input): bool {
		return !in_array($input->getOption('output'), [self::OUTPUT_FORMAT_JSON, self::OUTPUT_FORMAT_JSON_PRETTY], true);
	}

	/** Strings from peers and disks are shown, not obeyed: neither Symfony's tags nor the terminal's escapes. */
	protected static function shown(string $text): string {
		$text = (string)preg_replace('/[\x00-\x1f\x7f]|\xc2[\x80-\x9f]/', '?', $text);
		return \Symfony\Component\Console\Formatter\OutputFormatter::escape($text);
	}

	/** @param list<Check> $checks */
	protected function writeChecks(InputInterface $input, OutputInterface $output, array $checks): int {
		$areFine = array_reduce($checks, static fn (bool $fine, Check $check): bool => $fine && $check->ok, true);
		if (!self::isPlain($input)) {
			$this->writeArrayInOutputFormat($input, $output, [
				'ok' => $areFine,
				'checks' => array_map(static fn (Check $check): array => $check->fields(), $checks),
			]);
			return $areFine ? self::SUCCESS : self::FAILURE;
		}
		foreach ($checks as $check) {
			$output->writeln(($check->ok ? '<info>✓</info> ' : '<error>✗</error> ') . self::shown("$check->title: $check->text"));
			if ($check->remedy !== '') {
				$output->writeln('  → ' . self::shown($check->remedy));
			}
		}
		return $areFine ? self::SUCCESS : self::FAILURE;
	}

	protected function fail(InputInterface $input, OutputInterface $output, string $message, string $hint = ''): int {
		if (!self::isPlain($input)) {
			$this->writeArrayInOutputFormat($input, $output, ['error' => $message, 'hint' => $hint]);
			return self::FAILURE;
		}
		$output->writeln('<error>' . self::shown($message) . '</error>');
		if ($hint !== '') {
			$output->writeln('  → ' . self::shown($hint));
		}
		return self::FAILURE;
	}
}
