package manage_test

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/manage/managetest"
)

func TestServerMetadataCmdlets(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	play(t, client, []call{
		{"Get-ServerMetadata", nil, `"objects":[]`},
		{"Set-ServerMetadata", args{"Name": "/shared/admin", "Value": "mailto:a@example.org", "WhatIf": true}, `"whatIf":true`},
		{"Set-ServerMetadata", args{"Name": "/Shared/Admin", "Value": "mailto:a@example.org"}, `"name":"Value","old":null,"new":"mailto:a@example.org"`},
		{"Set-ServerMetadata", args{"Name": "/shared/admin", "Value": "tel:1"}, `"old":"mailto:a@example.org","new":"tel:1"`},
		{"Set-ServerMetadata", args{"Name": "/shared/comment", "Value": "Hello"}, `Hello`},
		{"Get-ServerMetadata", nil, `"Name":"/shared/admin","Value":"tel:1" "Name":"/shared/comment"`},
		{"Get-ServerMetadata", args{"Name": "*comment"}, `"objects":[{"Name":"/shared/comment","Value":"Hello"}]`},
		{"Set-ServerMetadata", args{"Name": "/private/comment", "Value": "x"}, "!BadArgument"},
		{"Set-ServerMetadata", args{"Name": "/shared", "Value": "x"}, "!BadArgument"},
		{"Set-ServerMetadata", args{"Name": "/shared/vendor/x", "Value": "x"}, "!BadArgument"},
		{"Set-ServerMetadata", args{"Name": "/shared//x", "Value": "x"}, "!BadArgument"},
		{"Set-ServerMetadata", args{"Name": "comment", "Value": "x"}, "!BadArgument"},
		{"Set-ServerMetadata", args{"Name": "/shared/x", "Value": strings.Repeat("x", 16385)}, "!BadArgument"},
		{"Remove-ServerMetadata", args{"Name": "/shared/none"}, "!NotFound"},
		{"Remove-ServerMetadata", args{"Name": "/shared/admin"}, `"old":"tel:1","new":null`},
		{"Get-ServerMetadata", args{"Name": "/shared/admin"}, `"objects":[]`},
	})
}
