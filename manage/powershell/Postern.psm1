# Manages a Postern server from PowerShell, over its management API.
#
#   Import-Module ./Postern.psd1
#   Connect-Postern https://mail.example.org:8443     # asks for an API token
#   Get-Mailbox | Where-Object Enabled -eq $false
#
# Made by "postern export-module"; make it anew after an update of the server.
# Cmdlets whose names PowerShell has itself are called Verb-PosternNoun.

Set-StrictMode -Version 3.0

$script:Connection = $null

function Connect-Postern {
    <#
    .SYNOPSIS
    Says which server the other functions manage, and proves who you are.
    .DESCRIPTION
    The token is one that New-ApiToken made. It is kept in memory until Disconnect-Postern.
    .PARAMETER Uri
    The address of the console, such as https://mail.example.org:8443.
    .PARAMETER Token
    The API token. It is asked for when it is left out.
    .PARAMETER SkipCertificateCheck
    Trusts any certificate: whoever stands in between can take the token. Not in Windows PowerShell.
    .EXAMPLE
    Connect-Postern https://mail.example.org:8443
    .EXAMPLE
    Connect-Postern https://mail.example.org:8443 (ConvertTo-SecureString $env:POSTERN_TOKEN -AsPlainText -Force)
    #>
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true, Position = 0)]
        [uri] $Uri,
        [Parameter(Mandatory = $true, Position = 1)]
        [securestring] $Token,
        [switch] $SkipCertificateCheck
    )
    if (-not $Uri.IsAbsoluteUri -or $Uri.Scheme -ne 'https') {
        throw 'The address of a Postern server begins with https://.'
    }
    if ($SkipCertificateCheck -and $PSVersionTable.PSVersion.Major -lt 6) {
        throw 'Windows PowerShell cannot skip the check of a certificate.'
    }
    if ($PSVersionTable.PSVersion.Major -lt 6) {
        [System.Net.ServicePointManager]::SecurityProtocol = [System.Net.ServicePointManager]::SecurityProtocol -bor [System.Net.SecurityProtocolType]::Tls12
    }
    $before = $script:Connection
    $script:Connection = @{ Uri = $Uri.GetLeftPart([System.UriPartial]::Authority); Token = $Token; SkipCertificateCheck = [bool] $SkipCertificateCheck }
    try {
        $null = Send-PosternRequest -Method Get -Path '/api/cmdlets'
    } catch {
        $script:Connection = $before
        throw
    }
}

function Disconnect-Postern {
    <#
    .SYNOPSIS
    Forgets the server and the token.
    #>
    [CmdletBinding()]
    param()
    $script:Connection = $null
}

# Send-PosternRequest sends one request and gives the answer as objects. $Seconds is how long
# it waits for it, 0 for as long as it takes.
function Send-PosternRequest {
    param([string] $Method, [string] $Path, [byte[]] $Body, [int] $Seconds = 150)
    if ($null -eq $script:Connection) {
        throw 'No server is connected. Connect-Postern connects one.'
    }
    $request = @{
        Uri                = $script:Connection.Uri + $Path
        Method             = $Method
        Headers            = @{ Authorization = 'Bearer ' + [System.Net.NetworkCredential]::new('', $script:Connection.Token).Password }
        ContentType        = 'application/json; charset=utf-8'
        MaximumRedirection = 0 # the token is for this server only
        TimeoutSec         = $Seconds
        UseBasicParsing    = $true
        ErrorAction        = 'Stop'
    }
    if ($PSBoundParameters.ContainsKey('Body')) {
        $request.Body = $Body
    }
    if ($script:Connection.SkipCertificateCheck) {
        $request.SkipCertificateCheck = $true
    }
    Invoke-RestMethod @request
}

# ConvertTo-PosternValue gives a parameter as the API takes it.
function ConvertTo-PosternValue {
    param([string] $Kind, $Value)
    if ($null -eq $Value) { return $null }
    switch ($Kind) {
        'secret' { return [System.Net.NetworkCredential]::new('', $Value).Password }
        'switch' { return [bool] $Value }
        'file' {
            $path = (Resolve-Path -LiteralPath $Value -ErrorAction Stop).ProviderPath
            return @{ base64 = [System.Convert]::ToBase64String([System.IO.File]::ReadAllBytes($path)) }
        }
        'list' {
            if ($Value -is [System.Collections.IDictionary]) {
                $edit = @{}
                foreach ($key in $Value.Keys) { $edit[[string] $key] = [string[]] @($Value[$key]) }
                return $edit
            }
            return , [string[]] @($Value)
        }
    }
    if ($Value -is [bool] -or $Value -is [System.Collections.IDictionary]) { return $Value }
    return [string] $Value
}

# Save-PosternFile writes a new file that, where the system can say so, only its
# owner can read: it may hold a key.
function Save-PosternFile {
    param([string] $Path, [byte[]] $Content)
    if ($PSVersionTable.PSVersion -ge [version] '7.3' -and -not $IsWindows) {
        $options = [System.IO.FileStreamOptions]::new()
        $options.Mode = [System.IO.FileMode]::CreateNew
        $options.Access = [System.IO.FileAccess]::Write
        $options.UnixCreateMode = [System.IO.UnixFileMode] 'UserRead, UserWrite'
        $stream = [System.IO.FileStream]::new($Path, $options)
    } else {
        $stream = [System.IO.File]::Open($Path, [System.IO.FileMode]::CreateNew)
    }
    try { $stream.Write($Content, 0, $Content.Length) } finally { $stream.Dispose() }
}

# Invoke-PosternCmdlet runs a cmdlet on the server for the function $Caller. $Kinds
# says which parameters there are and how their values are sent. $Long: it may take hours.
function Invoke-PosternCmdlet {
    param([string] $Name, [System.Collections.IDictionary] $Bound, [System.Collections.IDictionary] $Kinds, [System.Management.Automation.PSCmdlet] $Caller, [bool] $Changes, [bool] $Long, [bool] $WhatIf)
    $target, $save = '', ''
    try {
        $arguments = @{}
        foreach ($key in $Kinds.Keys) {
            if (-not $Bound.ContainsKey($key)) { continue }
            if ($Kinds[$key] -eq 'save') { # the file is written on this side
                $save = $Caller.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Bound[$key])
                if (Test-Path -LiteralPath $save) { throw ($save + ' exists already.') }
                continue
            }
            $arguments[$key] = ConvertTo-PosternValue -Kind $Kinds[$key] -Value $Bound[$key]
        }
        foreach ($key in 'Identity', 'Name', 'Thumbprint') {
            if ($target -eq '' -and $arguments.ContainsKey($key)) { $target = [string] $arguments[$key] }
        }
        if ($Changes) {
            if ($WhatIf) {
                $arguments.WhatIf = $true
            } else {
                $shown = $target
                if ($shown -eq '' -and $null -ne $script:Connection) { $shown = $script:Connection.Uri }
                if (-not $Caller.ShouldProcess($shown, $Name)) { return }
                $arguments.Confirm = $false
            }
        }
        $json = ConvertTo-Json -InputObject $arguments -Depth 5 -Compress
        $result = Send-PosternRequest -Method Post -Path ('/api/cmdlet/' + $Name) -Body ([System.Text.Encoding]::UTF8.GetBytes($json)) -Seconds $(if ($Long) { 0 } else { 150 })
    } catch {
        $text, $kind = $_.Exception.Message, 'Postern'
        if ($null -ne $_.ErrorDetails -and $_.ErrorDetails.Message) {
            try {
                $fault = (ConvertFrom-Json -InputObject $_.ErrorDetails.Message).error
                $text, $kind = $fault.text, $fault.kind
                if ($fault.PSObject.Properties['hint']) { $text += ' ' + $fault.hint }
            } catch {
                Write-Debug 'The answer is not from Postern.'
            }
        }
        $category = switch ($kind) {
            'NotFound' { 'ObjectNotFound' }
            'BadArgument' { 'InvalidArgument' }
            'NoPermission' { 'PermissionDenied' }
            'AuthenticationFailed' { 'AuthenticationError' }
            'AlreadyExists' { 'ResourceExists' }
            'Unavailable' { 'ResourceUnavailable' }
            default { 'InvalidOperation' }
        }
        $Caller.WriteError([System.Management.Automation.ErrorRecord]::new([System.InvalidOperationException]::new(('{0}: {1}' -f $Name, $text)), $kind, $category, $target))
        return
    }
    # The API leaves out what is empty.
    $has = { param($property) $null -ne $result.PSObject.Properties[$property] }
    if ((& $has 'warnings')) { foreach ($warning in $result.warnings) { $Caller.WriteWarning($warning) } }
    if ((& $has 'notes')) { foreach ($note in $result.notes) { $Caller.WriteVerbose($note) } }
    if ((& $has 'changes')) {
        foreach ($change in $result.changes) {
            $line = '{0} {1}: {2} -> {3}' -f $change.target, $change.name, (@($change.old) -join ', '), (@($change.new) -join ', ')
            if ($WhatIf) { Write-Host ('What if: ' + $line) } else { $Caller.WriteVerbose($line) }
        }
    }
    foreach ($object in $result.objects) {
        $object.PSObject.TypeNames.Insert(0, 'Postern.' + ($Name -split '-')[1])
        $Caller.WriteObject($object)
    }
    if ((& $has 'file')) {
        $content = [System.Convert]::FromBase64String($result.file.content)
        if ($save -ne '') {
            Save-PosternFile -Path $save -Content $content
        } elseif ($content -contains 0) {
            $Caller.WriteObject($content, $false)
        } else {
            $Caller.WriteObject([System.Text.Encoding]::UTF8.GetString($content))
        }
    }
    if ((& $has 'exitCode')) {
        $Caller.WriteError([System.Management.Automation.ErrorRecord]::new([System.InvalidOperationException]::new(('{0} did its work and found something wrong or different (exit code {1}).' -f $Name, $result.exitCode)), 'Found', 'InvalidResult', $target))
    }
}
