package manage

import (
	"strings"
)

type schema = map[string]any

// OpenAPI describes the API for programs (OpenAPI 3.1.0), made from the table of
// cmdlets and the settings' own schemas: one operation a cmdlet. base is the path
// that the API stands at.
func OpenAPI(base string) map[string]any {
	paths := schema{
		"/cmdlets": schema{"get": operation("listCmdlets", "Describes all cmdlets.", "API", schema{
			"description": "The table of cmdlets.",
			"content":     jsonContent(schema{"type": "array", "items": schema{"type": "object"}}),
		})},
		"/suggest/{source}": schema{
			"parameters": []any{schema{"name": "source", "in": "path", "required": true, "schema": schema{"type": "string", "enum": []any{SuggestMailboxes, SuggestCmdlets}}}},
			"get": operation("suggest", "Gives values for completion.", "API", schema{
				"description": "Names, in order.",
				"content":     jsonContent(schema{"type": "array", "items": schema{"type": "string"}}),
			}),
		},
		"/openapi.json": schema{"get": operation("describe", "Describes the API: this document.", "API", schema{
			"description": "An OpenAPI document.",
			"content":     jsonContent(schema{"type": "object"}),
		})},
	}
	for _, c := range Cmdlets() {
		paths["/cmdlet/"+c.Name] = schema{"post": c.operation()}
		if c.Follow != nil {
			paths["/follow/"+c.Name] = schema{"get": c.following()}
		}
	}
	url := base
	if url == "" {
		url = "/"
	}
	return schema{
		"openapi":           "3.1.0",
		"jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
		"info": schema{
			"title": "Postern management API", "version": "1",
			"description": "One operation a cmdlet. Each says which role it needs, and whether the caller must be a local administrator of the server. A refused call has changed nothing.",
			"license":     schema{"name": "See LICENSE", "url": "https://github.com/postern-mail/postern"},
		},
		"servers":  []any{schema{"url": url}},
		"security": []any{schema{"token": []any{}}},
		"paths":    paths,
		"components": schema{
			"securitySchemes": schema{"token": schema{
				"type": "http", "scheme": "bearer", "description": "An API token: New-ApiToken makes one. On the management socket the operating-system user is the caller and no token is needed.",
			}},
			"schemas": schema{"Result": resultSchema(), "Error": errorSchema()},
			"responses": schema{"Error": schema{
				"description": "The call was refused. 400: an argument is wrong. 401: no valid token. 403: a role or the local administrator is missing. 404: there is no such thing. 409: it exists, or was changed meanwhile. 413: too large. 422: not possible. 429: too often. 503: not now.",
				"content":     jsonContent(schema{"$ref": "#/components/schemas/Error"}),
			}},
		},
	}
}

func jsonContent(of schema) schema { return schema{"application/json": schema{"schema": of}} }

func operation(id, summary, tag string, ok schema) schema {
	refused := schema{"$ref": "#/components/responses/Error"}
	return schema{
		"operationId": id, "summary": summary, "tags": []any{tag},
		"responses": schema{"200": ok, "4XX": refused, "5XX": refused},
	}
}

// operation describes one cmdlet.
func (c *Cmdlet) operation() schema {
	_, noun, _ := strings.Cut(c.Name, "-")
	content := jsonContent(schema{"$ref": "#/components/schemas/Result"})
	if c.Long {
		content[linesType] = schema{"schema": schema{"type": "object", "description": "For who accepts " + linesType + ": a line with progress now and then (activity, done, all, unit), an empty one, and at last one with the result or an error."}}
	}
	o := operation(c.Name, c.Synopsis, noun, schema{
		"description": "What the cmdlet gives.",
		"content":     content,
	})
	o["description"] = strings.TrimSpace(c.Help + " Needs " + roleText(c) + ".")
	o["x-role"], o["x-local-administrator"] = c.Role, c.Local
	properties, required := schema{}, []any{}
	for _, p := range c.Parameters {
		properties[p.Name] = p.jsonSchema()
		if p.Mandatory {
			required = append(required, p.Name)
		}
	}
	body := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		body["required"] = required
	}
	o["requestBody"] = schema{"required": len(required) > 0, "content": jsonContent(body)}
	return o
}

// following describes how a cmdlet is followed.
func (c *Cmdlet) following() schema {
	_, noun, _ := strings.Cut(c.Name, "-")
	o := operation("Follow-"+c.Name, "Gives what "+c.Name+" would show, as it comes, until the caller goes.", noun, schema{
		"description": "JSON lines: first a result without objects, then an object a line. An empty line comes now and then, or of what has an end one with progress (activity, done, all, unit); the last one has an error when there is one.",
		"content":     schema{"application/jsonl": schema{"schema": schema{"type": "object"}}},
	})
	o["description"] = "Needs " + roleText(c) + "."
	o["x-role"], o["x-local-administrator"] = c.Role, c.Local
	parameters := []any{}
	for _, p := range c.Parameters {
		if p.Name != FollowSwitch {
			parameters = append(parameters, schema{"name": p.Name, "in": "query", "description": p.Help, "schema": schema{"type": "string", "maxLength": maxText}})
		}
	}
	o["parameters"] = parameters
	return o
}

// jsonSchema describes what a request may give for the parameter.
func (p *Parameter) jsonSchema() schema {
	unlimited := schema{"type": "string", "pattern": "^[Uu]nlimited$"}
	var s schema
	switch p.Type {
	case TypeBool, TypeSwitch:
		s = schema{"type": "boolean"}
	case TypeNumber:
		s = schema{"oneOf": []any{schema{"type": "integer", "minimum": 1}, unlimited}}
	case TypeSize:
		s = schema{"oneOf": []any{schema{"type": "integer", "minimum": 1}, schema{"type": "string"}}}
	case TypeList:
		s = listSchema(schema{"type": "string"})
	case TypeSecret:
		s = schema{"type": "string", "format": "password", "maxLength": maxText}
	case TypeFile:
		s = schema{"oneOf": []any{
			schema{"type": "string", "maxLength": MaxFile},
			schema{"type": "object", "properties": schema{"base64": schema{"type": "string", "contentEncoding": "base64"}}, "required": []any{"base64"}, "additionalProperties": false},
		}}
	case TypeObject:
		s = schema{"type": "object"}
	default:
		s = schema{"type": "string", "maxLength": maxText}
	}
	if p.schema != nil {
		s = schema{"anyOf": []any{p.schema, schema{"type": "null", "description": "The default."}}}
	}
	s["description"] = p.Help
	if p.Default != "" {
		s["x-default"] = p.Default
	}
	return s
}

// listSchema: a list whole, or what is added to it and removed from it.
func listSchema(item schema) schema {
	list := schema{"type": "array", "items": item}
	return schema{"oneOf": []any{
		item, list,
		schema{"type": "object", "properties": schema{"Add": schema{"oneOf": []any{item, list}}, "Remove": schema{"oneOf": []any{item, list}}}, "additionalProperties": false},
	}}
}

func resultSchema() schema {
	text, texts := schema{"type": "string"}, schema{"type": "array", "items": schema{"type": "string"}}
	return schema{
		"type":     "object",
		"required": []any{"objects", "view"},
		"properties": schema{
			"objects":  schema{"type": "array", "items": schema{"type": "object"}, "description": "What the cmdlet shows; the order of the keys is the order in which people want to read them."},
			"view":     schema{"type": "string", "description": "How the objects are best shown: List, Table, Help."},
			"columns":  texts,
			"units":    schema{"type": "object", "additionalProperties": text, "description": "Properties that are numbers of something."},
			"changes":  schema{"type": "array", "items": schema{"type": "object", "properties": schema{"target": text, "name": text, "old": schema{}, "new": schema{}}}},
			"whatIf":   schema{"type": "boolean", "description": "The changes were not made."},
			"warnings": texts,
			"notes":    texts,
			"confirm":  schema{"type": "string", "description": "A question; nothing was done. Call again with Confirm false when the answer is yes."},
			"exitCode": schema{"type": "integer", "description": "What a command line ends with: not 0 when the cmdlet did its work and found something wrong."},
		},
	}
}

func errorSchema() schema {
	text := schema{"type": "string"}
	return schema{
		"type": "object", "required": []any{"error"},
		"properties": schema{"error": schema{
			"type": "object", "required": []any{"kind", "text"},
			"properties": schema{"kind": text, "text": text, "parameter": schema{"type": "string", "description": "The one that is wrong."}, "hint": schema{"type": "string", "description": "What to do about it."}},
		}},
	}
}
