<?php
// SPDX-License-Identifier: AGPL-3.0-or-later
/** @var \OCP\IL10N $l */
/** @var array{url: string, confirm: string, folders: list<array<string, mixed>>, choices: list<string>, isReached: bool} $_ */
$words = [
	'invite' => $l->t('Let a device in'),
	'readOnly' => $l->t('It may not change anything'),
	'remove' => $l->t('Take away'),
	'removeSure' => $l->t('Take this device away? It keeps the files that it has, and receives no more.'),
	'renew' => $l->t('Let Harp in again'),
	'renewWhy' => $l->t('Its app password was taken back, so nothing moves. Harp can be given a new one.'),
	'asking' => $l->t('Your files are safe. If the folder was renamed, or is no longer yours, stop sharing it here and share it anew; else your administrator can decide.'),
	'more' => $l->t('more files wait'),
	'leave' => $l->t('Stop sharing'),
	'leaveSure' => $l->t('Stop sharing this folder? The files stay, here and on the devices, which receive no more.'),
	'noDevices' => $l->t('No device holds it yet'),
	'connected' => $l->t('connected'),
	'away' => $l->t('not connected'),
	'complete' => $l->t('has everything'),
	'lacks' => $l->t('files to go'),
	'ticket' => $l->t('The ticket lets in one device, once, within an hour. Whoever has it first is in.'),
	'copy' => $l->t('Copy'),
	'copied' => $l->t('Copied'),
	'close' => $l->t('Close'),
	'failed' => $l->t('That did not work'),
	'confirm' => $l->t('Please confirm with your password'),
	'wrong' => $l->t('Wrong password'),
	'ok' => $l->t('OK'),
	'cancel' => $l->t('Cancel'),
	'unreached' => $l->t('Harp cannot be reached just now. Your files are safe; ask your administrator.'),
];
?>
<section class="section harpbridge" id="harpbridge-personal"
	data-url="<?php p($_['url']); ?>"
	data-confirm="<?php p($_['confirm']); ?>"
	data-words="<?php p(json_encode($words)); ?>">
	<h2><?php p($l->t('Harp')); ?></h2>
	<p><?php p($l->t('Folders of yours that devices hold, and keep the same in real time.')); ?></p>
	<p class="harpbridge-said" role="status"><?php if (!$_['isReached']) { p($words['unreached']); } ?></p>
	<ul class="harpbridge-folders">
		<?php foreach ($_['folders'] as $folder): ?>
		<li>
			<strong><?php p($folder['path']); ?></strong>
			<?php if ($folder['error'] !== ''): ?><em><?php p($folder['error']); ?></em><?php endif; ?>
			<?php if ($folder['note'] !== ''): ?><p><?php p($folder['note']); ?></p><?php endif; ?>
			<?php if ($folder['mirror'] === 'asking'): ?><p><?php p($words['asking']); ?></p><?php endif; ?>
			<?php if ($folder['mirror'] === 'stopped'): ?><p><?php p($words['renewWhy']); ?></p><?php endif; ?>
			<?php if ($folder['problems'] !== []): ?>
			<ul class="harpbridge-problems">
				<?php foreach ($folder['problems'] as $problem): ?><li><?php p($problem); ?></li><?php endforeach; ?>
				<?php if ($folder['moreProblems'] > 0): ?><li><?php p($folder['moreProblems'] . ' ' . $words['more']); ?></li><?php endif; ?>
			</ul>
			<?php endif; ?>
			<ul>
				<?php foreach ($folder['devices'] as $device): ?>
				<li><?php p($device['name']); ?> – <?php p($device['connected'] ? $words['connected'] : $words['away']); ?></li>
				<?php endforeach; ?>
			</ul>
		</li>
		<?php endforeach; ?>
	</ul>
	<form>
		<label for="harpbridge-path"><?php p($l->t('Another folder')); ?></label>
		<input id="harpbridge-path" name="path" list="harpbridge-choices" required autocomplete="off" placeholder="/Documents">
		<datalist id="harpbridge-choices">
			<?php foreach ($_['choices'] as $choice): ?><option value="<?php p($choice); ?>"></option><?php endforeach; ?>
		</datalist>
		<button type="submit"><?php p($l->t('Share it with my devices')); ?></button>
	</form>
	<noscript><p><?php p($l->t('To change something here, JavaScript has to be on.')); ?></p></noscript>
</section>
