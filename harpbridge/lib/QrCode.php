<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

/**
 * QR codes (ISO/IEC 18004) of bytes, with the error correction M, as rows of dark and light.
 *
 * Pure: no image library, nothing to install, and a page may show it without loosening its content security policy.
 */
final class QrCode {
	/** Bytes of error correction in each block, by version from 1, at level M (ISO/IEC 18004, table 9). */
	private const EC_BYTES = [
		10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26,
		26, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	];
	/** Blocks, likewise. */
	private const BLOCKS = [
		1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16,
		17, 17, 18, 20, 21, 23, 25, 26, 28, 29, 31, 33, 35, 37, 38, 40, 43, 45, 47, 49,
	];
	private const FORMAT_M = 0;

	/** @var list<list<bool|null>> null: nothing is there yet */
	private array $modules;

	private function __construct(
		private int $version,
	) {
		$size = $version * 4 + 17;
		$this->modules = array_fill(0, $size, array_fill(0, $size, null));
	}

	/**
	 * @return list<list<bool>> rows of modules, true is dark, without the quiet zone of four around
	 * @throws \LengthException where it does not fit
	 */
	public static function of(string $text): array {
		$version = self::versionFor(strlen($text));
		$best = null;
		$least = PHP_INT_MAX;
		$bits = self::bits(self::withCorrection(self::data($text, $version), $version));
		$bare = new self($version);
		$bare->drawPatterns();
		for ($mask = 0; $mask < 8; $mask++) {
			$code = clone $bare;
			$code->drawFormat($mask);
			$code->drawData($bits, $mask);
			$penalty = $code->penalty();
			if ($penalty < $least) {
				$least = $penalty;
				$best = $code->modules;
			}
		}
		/** @var list<list<bool>> $best */
		return $best;
	}

	/** The dark modules as the `d` of an SVG path, in a square of size + 8 units. @param list<list<bool>> $modules */
	public static function path(array $modules): string {
		$path = '';
		foreach ($modules as $y => $row) {
			foreach ($row as $x => $dark) {
				if ($dark) {
					$path .= 'M' . ($x + 4) . ' ' . ($y + 4) . 'h1v1h-1z';
				}
			}
		}
		return $path;
	}

	/** For a terminal, two rows a line, light on whatever the background is. @param list<list<bool>> $modules */
	public static function blocks(array $modules): string {
		$size = count($modules);
		$isDark = static fn (int $x, int $y): bool => $modules[$y][$x] ?? false;
		$text = '';
		for ($y = -2; $y < $size + 2; $y += 2) {
			for ($x = -2; $x < $size + 2; $x++) {
				$text .= [['█', '▀'], ['▄', ' ']][(int)$isDark($x, $y)][(int)$isDark($x, $y + 1)];
			}
			$text .= "\n";
		}
		return $text;
	}

	private static function versionFor(int $length): int {
		for ($version = 1; $version <= 40; $version++) {
			if (4 + self::lengthBits($version) + 8 * $length <= 8 * self::dataBytes($version)) {
				return $version;
			}
		}
		throw new \LengthException('too long for a QR code');
	}

	private static function lengthBits(int $version): int {
		return $version < 10 ? 8 : 16;
	}

	private static function dataBytes(int $version): int {
		return self::allBytes($version) - self::EC_BYTES[$version - 1] * self::BLOCKS[$version - 1];
	}

	/** What is left of the square when all patterns are drawn, in bytes. */
	private static function allBytes(int $version): int {
		$bits = (16 * $version + 128) * $version + 64;
		if ($version >= 2) {
			$align = intdiv($version, 7) + 2;
			$bits -= (25 * $align - 10) * $align - 55;
			if ($version >= 7) {
				$bits -= 36;
			}
		}
		return intdiv($bits, 8);
	}

	/** @return list<int> */
	private static function data(string $text, int $version): array {
		$bits = '0100' . str_pad(decbin(strlen($text)), self::lengthBits($version), '0', STR_PAD_LEFT);
		foreach (str_split($text) as $byte) {
			$bits .= str_pad(decbin(ord($byte)), 8, '0', STR_PAD_LEFT);
		}
		$most = self::dataBytes($version);
		$bits .= str_repeat('0', min(4, 8 * $most - strlen($bits)));
		$bits .= str_repeat('0', (8 - strlen($bits) % 8) % 8);
		$bytes = array_map('bindec', str_split($bits, 8));
		for ($pad = 0xEC; count($bytes) < $most; $pad ^= 0xEC ^ 0x11) {
			$bytes[] = $pad;
		}
		return $bytes;
	}

	/**
	 * @param list<int> $data
	 * @return list<int> the blocks and their corrections, interleaved
	 */
	private static function withCorrection(array $data, int $version): array {
		$blocks = self::BLOCKS[$version - 1];
		$ecBytes = self::EC_BYTES[$version - 1];
		$all = self::allBytes($version);
		$short = intdiv($all, $blocks) - $ecBytes;
		$shortBlocks = $blocks - $all % $blocks;
		$divisor = self::divisor($ecBytes);
		$parts = $corrections = [];
		for ($block = 0, $at = 0; $block < $blocks; $block++) {
			$length = $short + (int)($block >= $shortBlocks);
			$parts[] = array_slice($data, $at, $length);
			$corrections[] = self::remainder($parts[$block], $divisor);
			$at += $length;
		}
		$woven = [];
		for ($i = 0; $i <= $short; $i++) {
			foreach ($parts as $part) {
				if (isset($part[$i])) {
					$woven[] = $part[$i];
				}
			}
		}
		for ($i = 0; $i < $ecBytes; $i++) {
			foreach ($corrections as $correction) {
				$woven[] = $correction[$i];
			}
		}
		return $woven;
	}

	/** @return list<int> Reed and Solomon's generator of this degree over GF(2^8) modulo 0x11D, without its first 1 */
	private static function divisor(int $degree): array {
		$result = array_fill(0, $degree, 0);
		$result[$degree - 1] = 1;
		$root = 1;
		for ($i = 0; $i < $degree; $i++) {
			for ($j = 0; $j < $degree; $j++) {
				$result[$j] = self::times($result[$j], $root) ^ ($result[$j + 1] ?? 0);
			}
			$root = self::times($root, 2);
		}
		return $result;
	}

	/**
	 * @param list<int> $data
	 * @param list<int> $divisor
	 * @return list<int>
	 */
	private static function remainder(array $data, array $divisor): array {
		$result = array_fill(0, count($divisor), 0);
		foreach ($data as $byte) {
			$factor = $byte ^ array_shift($result);
			$result[] = 0;
			foreach ($divisor as $i => $coefficient) {
				$result[$i] ^= self::times($coefficient, $factor);
			}
		}
		return $result;
	}

	private static function times(int $a, int $b): int {
		$product = 0;
		for ($bit = 7; $bit >= 0; $bit--) {
			$product = ($product << 1) ^ (($product >> 7) * 0x11D);
			$product ^= (($b >> $bit) & 1) * $a;
		}
		return $product;
	}

	/** @param list<int> $bytes */
	private static function bits(array $bytes): string {
		return implode('', array_map(static fn (int $byte): string => str_pad(decbin($byte), 8, '0', STR_PAD_LEFT), $bytes));
	}

	private function size(): int {
		return count($this->modules);
	}

	private function drawPatterns(): void {
		$size = $this->size();
		for ($i = 0; $i < $size; $i++) {
			$this->modules[6][$i] = $this->modules[$i][6] = $i % 2 === 0;
		}
		foreach ([[3, 3], [$size - 4, 3], [3, $size - 4]] as [$x, $y]) {
			$this->drawSquare($x, $y, 4, static fn (int $distance): bool => $distance !== 2 && $distance !== 4);
		}
		$places = $this->alignments();
		$last = count($places) - 1;
		foreach ($places as $i => $x) {
			foreach ($places as $j => $y) {
				if (!in_array([$i, $j], [[0, 0], [0, $last], [$last, 0]], true)) {
					$this->drawSquare($x, $y, 2, static fn (int $distance): bool => $distance !== 1);
				}
			}
		}
		$this->drawFormat(0);
		$this->drawVersion();
	}

	/** @param callable(int): bool $isDark by the distance from the middle */
	private function drawSquare(int $x, int $y, int $radius, callable $isDark): void {
		for ($dy = -$radius; $dy <= $radius; $dy++) {
			for ($dx = -$radius; $dx <= $radius; $dx++) {
				if (isset($this->modules[$y + $dy]) && $x + $dx >= 0 && $x + $dx < $this->size()) {
					$this->modules[$y + $dy][$x + $dx] = $isDark(max(abs($dx), abs($dy)));
				}
			}
		}
	}

	/** @return list<int> */
	private function alignments(): array {
		if ($this->version === 1) {
			return [];
		}
		$amount = intdiv($this->version, 7) + 2;
		$step = intdiv($this->version * 8 + $amount * 3 + 5, $amount * 4 - 4) * 2;
		$places = [];
		for ($at = $this->size() - 7; count($places) < $amount - 1; $at -= $step) {
			array_unshift($places, $at);
		}
		return [6, ...$places];
	}

	private function drawFormat(int $mask): void {
		$data = self::FORMAT_M << 3 | $mask;
		$rest = $data;
		for ($i = 0; $i < 10; $i++) {
			$rest = ($rest << 1) ^ (($rest >> 9) * 0x537);
		}
		$bits = ($data << 10 | $rest) ^ 0x5412;
		$bit = static fn (int $i): bool => ($bits >> $i & 1) === 1;
		$size = $this->size();
		for ($i = 0; $i < 15; $i++) {
			// Once around the first finder, once beside the other two.
			[$x, $y] = match (true) {
				$i < 6 => [8, $i],
				$i < 8 => [8, $i + 1],
				$i === 8 => [7, 8],
				default => [14 - $i, 8],
			};
			$this->modules[$y][$x] = $bit($i);
			[$x, $y] = $i < 8 ? [$size - 1 - $i, 8] : [8, $size - 15 + $i];
			$this->modules[$y][$x] = $bit($i);
		}
		$this->modules[$size - 8][8] = true;
	}

	private function drawVersion(): void {
		if ($this->version < 7) {
			return;
		}
		$rest = $this->version;
		for ($i = 0; $i < 12; $i++) {
			$rest = ($rest << 1) ^ (($rest >> 11) * 0x1F25);
		}
		$bits = $this->version << 12 | $rest;
		for ($i = 0; $i < 18; $i++) {
			$far = $this->size() - 11 + $i % 3;
			$near = intdiv($i, 3);
			$this->modules[$near][$far] = $this->modules[$far][$near] = ($bits >> $i & 1) === 1;
		}
	}

	private function drawData(string $bits, int $mask): void {
		$size = $this->size();
		$at = 0;
		for ($right = $size - 1; $right >= 1; $right -= 2) {
			if ($right === 6) {
				$right = 5;
			}
			for ($step = 0; $step < $size; $step++) {
				$y = (($right + 1) & 2) === 0 ? $size - 1 - $step : $step;
				foreach ([$right, $right - 1] as $x) {
					if ($this->modules[$y][$x] === null) {
						$this->modules[$y][$x] = (($bits[$at++] ?? '0') === '1') !== self::isMasked($mask, $x, $y);
					}
				}
			}
		}
	}

	private static function isMasked(int $mask, int $x, int $y): bool {
		return 0 === match ($mask) {
			0 => ($x + $y) % 2,
			1 => $y % 2,
			2 => $x % 3,
			3 => ($x + $y) % 3,
			4 => (intdiv($x, 3) + intdiv($y, 2)) % 2,
			5 => $x * $y % 2 + $x * $y % 3,
			6 => ($x * $y % 2 + $x * $y % 3) % 2,
			default => (($x + $y) % 2 + $x * $y % 3) % 2,
		};
	}

	/** How hard it is to read (7.8.3): runs, blocks, what looks like a finder, and too much of one colour. */
	private function penalty(): int {
		$lines = array_map(
			static fn (array $row): string => implode('', array_map(static fn (?bool $dark): string => $dark ? '1' : '0', $row)),
			$this->modules,
		);
		$size = $this->size();
		$columns = [];
		for ($x = 0; $x < $size; $x++) {
			$columns[] = implode('', array_map(static fn (string $row): string => $row[$x], $lines));
		}
		$penalty = 0;
		foreach ([...$lines, ...$columns] as $line) {
			preg_match_all('/0{5,}|1{5,}/', $line, $runs);
			foreach ($runs[0] as $run) {
				$penalty += strlen($run) - 2;
			}
			$penalty += 40 * (int)preg_match_all('/(?=00001011101|10111010000)/', $line);
		}
		for ($y = 1; $y < $size; $y++) {
			for ($x = 1; $x < $size; $x++) {
				$four = $lines[$y][$x] . $lines[$y][$x - 1] . $lines[$y - 1][$x] . $lines[$y - 1][$x - 1];
				$penalty += $four === '0000' || $four === '1111' ? 3 : 0;
			}
		}
		$dark = substr_count(implode('', $lines), '1');
		return $penalty + 10 * intdiv((int)(abs($dark * 20 - $size * $size * 10)), $size * $size);
	}
}
