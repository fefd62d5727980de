package manage

import (
	"context"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// getService shows one object a service.
func getService(_ context.Context, c *Call) (func(context.Context) error, error) {
	which := settings.Services
	if c.Given("Name") {
		s, err := c.service()
		if err != nil {
			return nil, err
		}
		which = []settings.Service{s}
	}
	for _, s := range which {
		c.Add(c.serviceObject(s))
	}
	return nil, nil
}

// service gives the service that -Name names.
func (c *Call) service() (settings.Service, error) {
	s, err := settings.ParseService(c.Text("Name"))
	return s, about("Name", err)
}

func (c *Call) serviceObject(s settings.Service) Object {
	status := c.Services.Status(s)
	if status.Problem != "" {
		c.Warn(string(s) + ": " + status.Problem)
	}
	listening := status.Listening
	if listening == nil {
		listening = []string{}
	}
	return Object{
		{"Name", string(s)},
		{"Status", string(status.State)},
		{"StartupType", settings.StartupType.Of(c.Settings.Current(s)).String()},
		{"Connections", int64(status.Connections)},
		{"Listening", listening},
		{"Problem", status.Problem},
	}
}

// startService: a Disabled service does not start.
func startService(_ context.Context, c *Call) (func(context.Context) error, error) {
	s, err := c.service()
	if err != nil {
		return nil, err
	}
	if err := c.mayStart(s); err != nil {
		return nil, err
	}
	status := c.Services.Status(s)
	if status.State == Running {
		c.Note(string(s) + " is running already.")
		return nil, nil
	}
	c.Change(string(s), "Status", string(status.State), string(Running))
	return func(ctx context.Context) error { return c.Services.Start(ctx, s) }, nil
}

func (c *Call) mayStart(s settings.Service) error {
	if settings.StartupType.Of(c.Settings.Current(s)) == settings.Disabled {
		return about("Name", hinted(mail.Errorf(mail.KindCannot, "%s is Disabled and does not start", s),
			"Set-Service "+string(s)+" -StartupType Manual lets it start."))
	}
	return nil
}

// stopService: ends the service's sessions too.
func stopService(_ context.Context, c *Call) (func(context.Context) error, error) {
	s, err := c.service()
	if err != nil {
		return nil, err
	}
	status := c.Services.Status(s)
	if status.State == Stopped {
		c.Note(string(s) + " is stopped already.")
		return nil, nil
	}
	c.Change(string(s), "Status", string(status.State), string(Stopped))
	return func(ctx context.Context) error { return c.Services.Stop(ctx, s) }, nil
}

// restartService: one that stands still is started.
func restartService(_ context.Context, c *Call) (func(context.Context) error, error) {
	s, err := c.service()
	if err != nil {
		return nil, err
	}
	if err := c.mayStart(s); err != nil {
		return nil, err
	}
	c.Change(string(s), "Status", string(c.Services.Status(s).State), "Restarted")
	return func(ctx context.Context) error {
		if err := c.Services.Stop(ctx, s); err != nil {
			return err
		}
		return c.Services.Start(ctx, s)
	}, nil
}

// setService changes when a service starts.
func setService(ctx context.Context, c *Call) (func(context.Context) error, error) {
	s, err := c.service()
	if err != nil {
		return nil, err
	}
	edits := c.edits(s, "Service")
	if len(edits) == 0 {
		return nil, wrong("StartupType", "Set-Service needs -StartupType")
	}
	do, err := c.changeSettings(ctx, s, edits, nil)
	if err == nil {
		c.Note("The start-up type acts at the server's next start; Start-Service and Stop-Service act now.")
	}
	return do, err
}
