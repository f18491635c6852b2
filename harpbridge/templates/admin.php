<?php
// SPDX-License-Identifier: AGPL-3.0-or-later
/** @var \OCP\IL10N $l */
/** @var array{url: string, confirm: string, checks: list<\OCA\HarpBridge\Check>, bridgeSocket: string, controlSocket: string, hubAddress: string, nextcloudUrl: string} $_ */
$words = [
	'saved' => $l->t('Saved'),
	'failed' => $l->t('That did not work'),
	'confirm' => $l->t('Please confirm with your password'),
	'wrong' => $l->t('Wrong password'),
	'ok' => $l->t('OK'),
	'cancel' => $l->t('Cancel'),
];
?>
<section class="section harpbridge" id="harpbridge-admin"
	data-url="<?php p($_['url']); ?>"
	data-confirm="<?php p($_['confirm']); ?>"
	data-words="<?php p(json_encode($words)); ?>">
	<h2><?php p($l->t('Harp')); ?></h2>
	<p><?php p($l->t('The Harp daemon beside this Nextcloud keeps folders the same on devices that trust each other.')); ?></p>
	<ul class="harpbridge-checks" aria-live="polite">
		<?php foreach ($_['checks'] as $check): ?>
		<li class="<?php p($check->ok ? 'harpbridge-good' : 'harpbridge-bad'); ?>">
			<strong><?php p($check->title); ?></strong>: <?php p($check->text); ?>
			<?php if ($check->remedy !== ''): ?><br><em><?php p($check->remedy); ?></em><?php endif; ?>
		</li>
		<?php endforeach; ?>
	</ul>
	<form>
		<?php foreach ([
			'bridgeSocket' => $l->t('Socket for datagrams'),
			'controlSocket' => $l->t('Control socket'),
			'hubAddress' => $l->t('What devices dial (HOST:PORT or wss://…; empty: the local network only)'),
			'nextcloudUrl' => $l->t('How the daemon reaches this Nextcloud (empty: by its public address)'),
		] as $name => $label): ?>
		<label for="harpbridge-<?php p($name); ?>"><?php p($label); ?></label>
		<input id="harpbridge-<?php p($name); ?>" name="<?php p($name); ?>" value="<?php p($_[$name]); ?>" autocomplete="off" spellcheck="false">
		<?php endforeach; ?>
		<button type="submit"><?php p($l->t('Save and test')); ?></button>
		<span class="harpbridge-said" role="status"></span>
	</form>
	<noscript><p><?php p($l->t('Without JavaScript: occ harpbridge:setup')); ?></p></noscript>
</section>
