/* Imports new in Windows 8 and in Windows 10 2004. */
#include "import.h"
    IMPORTS_BEGIN
    IMPORT CmCallbackGetKeyObjectIDEx, 20
    IMPORT CmCallbackReleaseKeyObjectIDEx, 4
    IMPORT ExAllocatePool2, 16
    IMPORTS_END
