"""Build, sign and verify Windows kernel drivers on Linux; build the runner."""

from harness.driver.authenticode import SignatureDigest
from harness.driver.build import BuildFailedError, BuildResult, build_driver
from harness.driver.certificate import SigningCertificate, signing_certificate
from harness.driver.program import ProgramSpec, build_program, program_spec, runner_image, runner_spec
from harness.driver.sign import SignResult, build_signed, probe_image, sign_driver, sign_image
from harness.driver.signature import SignatureReport, check_signature
from harness.driver.spec import ARCHITECTURES, DriverSpec, driver_spec, find_project_root, project_drivers
from harness.driver.symbols import find_symbols, remember_symbols
from harness.driver.toolchain import Toolchain, available_toolchains, find_toolchain
from harness.driver.verify import VerifyCheck, VerifyReport, verify_bytes, verify_image

__all__ = [
    "ARCHITECTURES",
    "BuildFailedError",
    "BuildResult",
    "DriverSpec",
    "ProgramSpec",
    "SignResult",
    "SignatureDigest",
    "SignatureReport",
    "SigningCertificate",
    "Toolchain",
    "VerifyCheck",
    "VerifyReport",
    "available_toolchains",
    "build_driver",
    "build_program",
    "build_signed",
    "check_signature",
    "driver_spec",
    "find_project_root",
    "find_symbols",
    "find_toolchain",
    "probe_image",
    "program_spec",
    "project_drivers",
    "remember_symbols",
    "runner_image",
    "runner_spec",
    "sign_driver",
    "sign_image",
    "signing_certificate",
    "verify_bytes",
    "verify_image",
]
