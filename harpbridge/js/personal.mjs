// SPDX-License-Identifier: AGPL-3.0-or-later
/** The personal page: choose a folder, let a device in, take one away. What is shown without it, it makes alive. */

import { ask, element, Server } from './asking.mjs'

const SVG = 'http://www.w3.org/2000/svg'
const section = document.getElementById('harpbridge-personal')
const server = new Server(section)
const words = server.words
const said = section.querySelector('.harpbridge-said')
const list = section.querySelector('.harpbridge-folders')

async function attempt(perform) {
	said.textContent = ''
	try {
		await perform()
	} catch (error) {
		said.textContent = error.message
	}
}

function button(text, perform) {
	return element('button', { type: 'button', click: () => attempt(perform) }, text)
}

function folderUrl(folder) {
	return '/' + encodeURIComponent(folder.id)
}

function deviceLine(folder, device) {
	const state = [device.connected ? words.connected : words.away]
	if (device.lacks !== null) {
		state.push(device.lacks === 0 ? words.complete : `${device.lacks} ${words.lacks}`)
	}
	return element('li', {}, `${device.name} – ${state.join(', ')}`, button(words.remove, async () => {
		if (await ask([element('p', {}, words.removeSure)], [['ok', words.remove], ['', words.cancel]]) === 'ok') {
			await server.send('DELETE', folderUrl(folder) + '/devices/' + encodeURIComponent(device.id))
			await refresh()
		}
	}))
}

function folderItem(folder) {
	const readOnly = element('input', { type: 'checkbox' })
	const devices = folder.devices.map((device) => deviceLine(folder, device))
	const problems = folder.problems.map((problem) => element('li', {}, problem))
	if (folder.moreProblems) {
		problems.push(element('li', {}, `${folder.moreProblems} ${words.more}`))
	}
	return element('li', {},
		element('strong', {}, folder.path), ' ', element('em', {}, folder.error),
		...(folder.note ? [element('p', {}, folder.note)] : []),
		...(folder.mirror === 'asking' ? [element('p', {}, words.asking)] : []),
		...(folder.mirror === 'stopped' ? [element('p', {}, words.renewWhy, ' ', button(words.renew, () => share(folder.path)))] : []),
		...(problems.length ? [element('ul', { class: 'harpbridge-problems' }, ...problems)] : []),
		element('ul', {}, ...(devices.length ? devices : [element('li', {}, words.noDevices)])),
		button(words.invite, () => invite(folder, readOnly.checked)),
		element('label', {}, readOnly, ' ', words.readOnly),
		button(words.leave, async () => {
			if (await ask([element('p', {}, words.leaveSure)], [['ok', words.leave], ['', words.cancel]]) === 'ok') {
				await server.send('DELETE', folderUrl(folder))
				await refresh()
			}
		}),
	)
}

function qrCode({ size, path }) {
	const svg = document.createElementNS(SVG, 'svg')
	svg.setAttribute('viewBox', `0 0 ${size} ${size}`)
	svg.setAttribute('shape-rendering', 'crispEdges')
	svg.setAttribute('role', 'img')
	const drawn = document.createElementNS(SVG, 'path')
	drawn.setAttribute('d', path)
	svg.append(drawn)
	return svg
}

async function invite(folder, readOnly) {
	const made = await server.send('POST', folderUrl(folder) + '/invitations', { readOnly })
	const ticket = element('textarea', { readonly: true, rows: '4' }, made.ticket)
	const copy = element('button', {
		type: 'button',
		click: async () => {
			ticket.select()
			await navigator.clipboard?.writeText(made.ticket)
			copy.textContent = words.copied
		},
	}, words.copy)
	await ask([element('p', {}, words.ticket), qrCode(made.qr), ticket, copy], [['', words.close]])
	await refresh()
}

async function refresh() {
	const { folders } = await server.send('GET')
	list.replaceChildren(...folders.map(folderItem))
}

async function share(path) {
	await server.send('POST', '', { path })
	await refresh()
}

section.querySelector('form').addEventListener('submit', (event) => {
	event.preventDefault()
	const path = event.target.elements.path
	attempt(async () => {
		await share(path.value)
		path.value = ''
	})
})

attempt(async () => {
	if (list.children.length) {
		await refresh()
	}
})
