// Reads PowerShell from standard input with tree-sitter's grammar and writes, as
// JSON, where it is wrong and which functions with which parameters there are.
const fs = require('fs')
const tools = process.argv[2]
const { Parser, Language } = require(tools + '/web-tree-sitter.cjs')

const main = async () => {
	await Parser.init({ locateFile: name => tools + '/' + name })
	const parser = new Parser()
	parser.setLanguage(await Language.load(tools + '/tree-sitter-powershell.wasm'))
	const text = fs.readFileSync(0, 'utf8').replace(/^\ufeff/, '')
	const out = { errors: [], functions: {}, comments: 0 }
	const walk = (node, name) => {
		if (node.isError || node.isMissing) {
			out.errors.push('line ' + (node.startPosition.row + 1) + ': ' + node.text.slice(0, 80))
		}
		if (node.type === 'function_statement') {
			name = node.children.find(c => c.type === 'function_name').text
			out.functions[name] = []
		}
		if (node.type === 'comment' && node.text.startsWith('<#')) out.comments++
		if (node.type === 'script_parameter') {
			out.functions[name]?.push(node.children.find(c => c.type === 'variable').text)
			return
		}
		node.children.forEach(c => walk(c, name))
	}
	walk(parser.parse(text).rootNode, '')
	console.log(JSON.stringify(out))
}
main()
