package console

import (
	"net/url"
	"slices"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

// ofFolders is the part of a mailbox's page that shows who has rights on its folders.
const ofFolders = "folders"

// folderRight is what somebody may do with a folder of the mailbox.
type folderRight struct {
	Folder, User, Rights string
	Letters              string // of RFC 4314, "" when Rights is made of them
	Deny                 bool
	Path                 string // changes it
	Remove               *Form
}

// mailboxFolders shows who may do what with the mailbox's folders, and the form that gives
// rights; in its place the one that changes the rights that the address names.
func (v *Visit) mailboxFolders(data *mailboxData, identity []shell.Argument) error {
	result, err := v.Run("Get-MailboxFolderPermission", identity...)
	if err != nil {
		return err
	}
	query := v.Request.URL.Query()
	back := mailboxPath(ofFolders, data.Mailbox.Name)
	roles := &Field{Name: "AccessRights", Label: v.T("Rights"), Kind: Choice, Choices: manage.FolderRoles(), Required: true,
		Help: v.T("What they may do. Set-MailboxFolderPermission in the shell takes single rights, too.")}
	for _, o := range result.Objects {
		r := &folderRight{Folder: textOf(o, "FolderName"), User: textOf(o, "User"), Rights: textOf(o, "AccessRights"), Letters: textOf(o, "Rights"), Deny: boolOf(o, "Deny")}
		which := url.Values{"name": {data.Mailbox.Name}, "folder": {r.Folder}, "user": {r.User}}
		fixed := []shell.Argument{{Name: "Identity", Value: textOf(o, "Identity")}, {Name: "User", Value: r.User}}
		word := "folder"
		if r.Deny {
			which.Set("deny", "true")
			fixed = append(fixed, shell.Argument{Name: "Deny", Value: true})
			word = "denied"
		}
		r.Path = mailboxesPath + "/" + ofMailbox + "/" + ofFolders + "?" + which.Encode()
		r.Remove = v.Add(&Form{ID: formID(word, r.Folder, r.User), Title: "Right taken away", Submit: "Remove", Cmdlet: "Remove-MailboxFolderPermission", Danger: true,
			Fixed: fixed, Next: back, Help: "It holds from the next command on, in sessions that are open too."})
		if query.Get("folder") == r.Folder && query.Get("user") == r.User && (query.Get("deny") != "") == r.Deny {
			roles.Value = r.Rights
			if r.Rights == r.Letters {
				roles.Choices = append(roles.Choices, settings.Choice{Name: r.Rights, Help: "as it is"})
			}
			data.NewFolder, data.AllFolders = v.Add(&Form{ID: "folder", Title: "Change the rights", Done: "Rights changed", Submit: "Review the change", Cmdlet: "Set-MailboxFolderPermission",
				Fixed: fixed, Next: back, Fields: []*Field{roles}}), back
		}
		if r.Letters == r.Rights {
			r.Letters = ""
		}
		data.Folders = append(data.Folders, r)
	}
	if data.NewFolder != nil {
		return nil
	}
	if query.Has("folder") {
		return noPage()
	}
	data.NewFolder = v.Add(&Form{ID: "folder", Title: "Share a folder", Done: "Rights given", Submit: "Review the change", Cmdlet: "Add-MailboxFolderPermission",
		Fields: []*Field{
			{Name: "Identity", Label: v.T("Folder"), Help: v.T("Its name, with those above it: Projects/Plans."), Kind: Text, Required: true, Prefix: data.Mailbox.Name + `:\`,
				Suggest: []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"}},
			{Name: "User", Label: v.T("User"), Help: v.T("A mailbox, group:NAME for a group, or Anyone for everybody with a mailbox here."), Kind: Text, Required: true, Suggest: v.grantees()},
			roles,
			{Name: "Deny", Label: v.T("Taken away"), Help: v.T("The rights are taken away, whoever gave them: for one of a group."), Kind: Bool},
		}})
	return nil
}

// grantees are those beside single mailboxes who may get rights.
func (v *Visit) grantees() []string {
	list := []string{"Anyone"}
	if result, _ := v.optional("Get-LoginGroup"); result != nil {
		for _, o := range result.Objects {
			list = append(list, "group:"+textOf(o, "Name"))
		}
	}
	return slices.Clip(list)
}
