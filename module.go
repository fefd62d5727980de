package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

type exportModuleCommand struct {
	Output string `short:"o" help:"The file, NAME.psm1; its manifest NAME.psd1 is written beside it. Standard output when left out, without the manifest." placeholder:"PATH"`
}

func (c exportModuleCommand) Run(s *streams) error {
	if c.Output == "" {
		return manage.WriteModule(s.out)
	}
	name, ok := strings.CutSuffix(c.Output, ".psm1")
	if !ok {
		return mail.Errorf(mail.KindBadArgument, "the name of a PowerShell module ends in .psm1")
	}
	var module, manifest bytes.Buffer
	if err := manage.WriteModule(&module); err != nil {
		return err
	}
	if err := manage.WriteManifest(&manifest, filepath.Base(c.Output)); err != nil {
		return err
	}
	if err := os.WriteFile(c.Output, module.Bytes(), 0o644); err != nil {
		return fmt.Errorf("the module cannot be written: %w", err)
	}
	if err := os.WriteFile(name+".psd1", manifest.Bytes(), 0o644); err != nil {
		return fmt.Errorf("the manifest cannot be written: %w", err)
	}
	fmt.Fprintf(s.out, "%s and %s.psd1 are written. In PowerShell: Import-Module ./%s.psd1, then Connect-Postern.\n", c.Output, name, filepath.Base(name))
	return nil
}
